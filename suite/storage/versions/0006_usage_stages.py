"""How long a request waited in its model server, and when its reply began; rows of before say neither."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    for name in ("queue_seconds", "first_seconds"):
        op.add_column("usage", sa.Column(name, sa.Float, nullable=True))
