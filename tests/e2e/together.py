"""Many clients at once: a thread for each."""
import threading

from wire import DEADLINE


def together(work, count, *args, limit=DEADLINE * 10):
    """Runs work(number, *args) in threads, each for `limit` seconds at most; what went wrong."""
    wrong = []

    def run(number):
        try:
            work(number, *args)
        except Exception as error:  # noqa: any problem is the finding
            wrong.append(f"{number}: {error!r}")
    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(limit)
    return wrong + ["one hangs" for thread in threads if thread.is_alive()]
