"""Pydantic models as arguments and results: `pydantic=True`. What travels is plain JSON."""

from pydantic import BaseModel

import running
from celerylite import Celery

app = Celery("pydantic_arguments")


class Order(BaseModel):
    """What the task takes."""

    item: str
    quantity: int
    price: float


class Invoice(BaseModel):
    """What it returns."""

    text: str
    total: float


@app.task(pydantic=True)
def invoice(order: Order) -> Invoice:
    """Receives a model, checked, and returns one."""
    return Invoice(text=f"{order.quantity} x {order.item}", total=order.quantity * order.price)


def main():
    with running.redis(), running.worker(app, "-c", "1"):
        order = Order(item="tea", quantity=3, price=2.5)
        answer = invoice.delay(order.model_dump()).get(timeout=20)
        print("on the wire:", answer)
        print("as a model: ", Invoice.model_validate(answer))
        failed = invoice.delay({"item": "tea"})
        failed.get(timeout=20, propagate=False)
        print("wrong input:", failed.state)


if __name__ == "__main__":
    main()
