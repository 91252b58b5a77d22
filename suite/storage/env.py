"""What Alembic runs around the steps in `versions/`: our open connection, one transaction for all of them."""

from alembic import context

from suite.storage.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
context.run_migrations()
