"""alembic's entry: runs the migrations on the connection it is handed, inside the caller's transaction."""

from alembic import context

from genre_pipeline.adapters.table_definitions import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
