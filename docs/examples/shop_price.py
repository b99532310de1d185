"""A shop changes a price, and says so: python shop_price.py PRODUCT PRICE

Answers about the product carry the tag product:PRODUCT, and go.
"""

import os
import sqlite3
import sys

import redis

STREAM = os.environ.get("EVENTS_STREAM", "semcache:events")


def set_price(shop: sqlite3.Connection, events: redis.Redis, product: str, price: str) -> None:
    with shop:
        shop.execute("UPDATE products SET price = ? WHERE id = ?", (price, product))
    events.xadd(STREAM, {"tags": f"product:{product}"})


if __name__ == "__main__":
    set_price(
        sqlite3.connect(os.environ["SHOP_DB"]),
        redis.Redis.from_url(os.environ["REDIS_URL"]),
        *sys.argv[1:],
    )
