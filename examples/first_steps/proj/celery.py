"""The app. CELERY_BROKER_URL and CELERY_RESULT_BACKEND in the environment win over the URLs here."""

from celerylite import Celery

app = Celery(
    "proj",
    broker="redis://localhost:6379/0",
    backend="redis://localhost:6379/1",
    include=["proj.tasks"],
)

app.conf.update(
    result_expires=3600,
    task_routes={"proj.tasks.send_mail": {"queue": "mail"}},
)

if __name__ == "__main__":
    app.start()
