"""Logs that users bring: CSV and Parquet files, mapped column by column, compiled out of core."""

from jaxrec.data.ingest.compile import ingest as ingest
from jaxrec.data.ingest.fields import LogMapping as LogMapping
from jaxrec.data.ingest.mapping import load_mapping as load_mapping
from jaxrec.data.ingest.mapping import make_mapping as make_mapping
