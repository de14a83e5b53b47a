import { describe, expect, it } from "vitest";
import { UsageError } from "../../src/cli/failure.ts";
import { compileTemplate } from "../../src/cli/output/template.ts";

const fields = {
  Repository: "REPOSITORY",
  Tag: "TAG",
  Size: "SIZE",
  Count: "COUNT",
  List: "LIST",
  Nested: "NESTED",
};
const row = {
  Repository: "alpine",
  Tag: "3 Edge",
  Size: "7.83MB",
  Count: 3,
  List: ["a", "b"],
  Nested: { Inner: { Deep: true } },
};

function render(template: string, rows = [row]): string {
  return compileTemplate(template, fields)(rows);
}

function complaint(template: string): string {
  try {
    compileTemplate(template, fields);
  } catch (error) {
    if (error instanceof UsageError) return error.message;
    throw error;
  }
  return "it was accepted";
}

describe("templates", () => {
  it.each([
    ["fields and text", "{{.Repository}}:{{.Tag}}", "alpine:3 Edge\n"],
    ["blanks inside an action", "{{  .Repository  }}", "alpine\n"],
    ["text only", "x", "x\n"],
    ["numbers", "{{.Count}}", "3\n"],
    ["lists as Go prints them", "{{.List}}", "[a b]\n"],
    ["nested fields", "{{.Nested.Inner.Deep}}", "true\n"],
    ["a nested field that is not there", "{{.Nested.No.Deep}}", "<no value>\n"],
    ["nothing from the prototype", "{{.Nested.constructor}}", "<no value>\n"],
    ["the whole row as JSON", "{{json .}}", `${JSON.stringify(row)}\n`],
    ["a field as JSON", "{{json .Tag}}", '"3 Edge"\n'],
    ["a pipe", "{{.Tag | upper | json}}", '"3 EDGE"\n'],
    ["lower, upper, title", "{{lower .Tag}} {{upper .Tag}} {{title .Repository}}", "3 edge 3 EDGE Alpine\n"],
    ["join", '{{join .List ", "}}', "a, b\n"],
    ["split and join", '{{split .Size "." | json}}', '["7","83MB"]\n'],
    ["truncate", "{{truncate .Repository 3}}", "alp\n"],
    ["pad", "{{pad .Repository 1 2}}|", " alpine  |\n"],
    ["println", "{{println .Repository .Tag}}", "alpine 3 Edge\n\n"],
    ["literals", '{{"a b"}}{{`\\n`}}', "a b\n\n"],
    ["fields of what is not the row", "{{range .List}}{{.No}}{{end}}", "<no value><no value>\n"],
    ["escaped tabs and newlines", "{{.Repository}}\\t{{.Count}}\\n", "alpine\t3\n\n"],
    ["trimming", "a {{- .Count -}} b", "a3b\n"],
    ["a comment", "{{/* a {{ b */}}x", "x\n"],
    ["braces that are not an action", "{.Tag} }}", "{.Tag} }}\n"],
    ["json, a line a row", "json", `${JSON.stringify(row)}\n`],
  ])("%s", (_, template, text) => {
    expect(render(template)).toBe(text);
  });

  it("makes a table with the fields' headings", () => {
    const rows = [row, { ...row, Repository: "debian-slim", Tag: "12" }];
    expect(render("table {{.Repository}}\\t{{.Tag}} ({{upper .Size}})\\tx", rows)).toBe(
      [
        "REPOSITORY    TAG (SIZE)        x",
        "alpine        3 Edge (7.83MB)   x",
        "debian-slim   12 (7.83MB)       x",
        "",
      ].join("\n"),
    );
  });

  it("prints nothing but the heading for no rows", () => {
    expect(render("table {{.Tag}}", [])).toBe("TAG\n");
    expect(render("{{.Tag}}", [])).toBe("");
    expect(render("json", [])).toBe("");
  });

  it("shows control characters in tables as escapes", () => {
    expect(render("table {{.Tag}}", [{ ...row, Tag: "a\u001b[31m\nb" }])).toBe("TAG\na\\x1b[31m\\nb\n");
  });

  it.each([
    ["an unknown field", "{{.Repo}}", "there is no field .Repo, at character 3"],
    ["an unknown field in a pipe", "{{json .Repo | upper}}", "there is no field .Repo, at character 8"],
    [
      "one of the row in a range",
      "{{range .List}}{{$.Repo}}{{end}}",
      "there is no field .Repo, at character 19",
    ],
    ["one in an if", "{{if .Tag}}{{.Repo}}{{end}}", "there is no field .Repo, at character 14"],
    ["one in an else", "{{with .Tag}}{{else}}{{.Repo}}{{end}}", "there is no field .Repo, at character 24"],
    ["one in parentheses", "{{len (.Repo)}}", "there is no field .Repo, at character 8"],
    ["one of a table", "table {{.Repo}}", "there is no field .Repo, at character 9"],
    ["__proto__", "{{.__proto__}}", "there is no field .__proto__, at character 3"],
    ["a table without columns", "table", "table needs columns"],
    ["too long a template", "x".repeat(65_537), "the template has more than 65536 characters"],
  ])("refuses %s", (_, template, message) => {
    expect(complaint(template)).toBe(`--format: ${message}`);
  });

  it("heads a column of blocks with the fields that they show", () => {
    expect(render("table {{if .Tag}}{{.Tag}}{{else}}-{{end}}\\t{{range .List}}{{.}},{{end}}")).toBe(
      "TAG      LIST\n3 Edge   a,b,\n",
    );
  });

  it("bounds what a number may make", () => {
    expect(() => render("{{pad .Tag 1000000000 0}}")).toThrow("--format: pad takes a number from 0 to 1024");
    expect(() => render('{{truncate .Tag "x"}}')).toThrow("--format: truncate takes a number from 0 to 1024");
  });
});
