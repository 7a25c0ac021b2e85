"""Calls the tasks of `proj`. Start a worker first: celerylite -A proj worker -l INFO -Q celery,mail"""

from proj.tasks import add, send_mail, total


def main() -> None:
    print("add:", add.delay(4, 4).get(timeout=20))
    print("total:", total.delay([1, 2, 3]).get(timeout=20))
    print("send_mail:", send_mail.delay("ann@example.com", fail_first=True).get(timeout=20))
    later = add.apply_async((1, 1), countdown=1)
    print("in a second:", later.id, later.state)
    print("add:", later.get(timeout=20))


if __name__ == "__main__":
    main()
