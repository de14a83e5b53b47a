CREATE TABLE fruit (name text PRIMARY KEY, count integer NOT NULL);
INSERT INTO fruit VALUES ('apple', 30), ('pear', 12);
SELECT 'inside: ' || current_user || ' counts ' || sum(count) FROM fruit;
SELECT 'shared memory: ' || setting FROM pg_settings WHERE name = 'dynamic_shared_memory_type';
