"""Threads, subprocesses with pipes, a pool of processes with shared memory, signals and temporary files."""
import multiprocessing, os, signal, subprocess, sys, tempfile, threading
from multiprocessing import shared_memory


def square(number):
    return number * number


def main():
    lock, total = threading.Lock(), [0]

    def add(count):
        for _ in range(count):
            with lock:
                total[0] += 1

    threads = [threading.Thread(target=add, args=(500,)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("threads:", total[0])

    shout = subprocess.run(["tr", "a-z", "A-Z"], input="through a pipe", text=True, capture_output=True, check=True)
    print("subprocess:", shout.stdout)
    failed = subprocess.run(["sh", "-c", "kill -USR1 $$"])
    print("ended by signal:", -failed.returncode)
    with multiprocessing.Pool(3) as pool:
        print("pool:", sum(pool.map(square, range(100))))
    block = shared_memory.SharedMemory(create=True, size=1 << 20)
    child = os.fork()
    if child == 0:
        block.buf[0] = 42
        os._exit(0)
    os.waitpid(child, 0)
    print("shared memory:", block.buf[0])
    block.close()
    block.unlink()

    seen = []
    signal.signal(signal.SIGALRM, lambda number, frame: seen.append(number))
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    signal.pause()
    print("alarm:", seen == [signal.SIGALRM])
    with tempfile.TemporaryDirectory() as folder, open(os.path.join(folder, "file"), "w+b") as file:
        file.write(os.urandom(1 << 20))
        file.flush()
        os.fsync(file.fileno())
        print("file:", os.path.getsize(file.name))
    print("process:", os.getpid())


if __name__ == "__main__":
    main()
    sys.exit(3)
