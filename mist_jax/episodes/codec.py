"""One episode as one record, and back: exact both ways, in the layout of `schema`.

The columns are those that the records declare; here stands only what is more than a column.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mist_jax.episodes.columns import (
    ColumnReader,
    Values,
    end_to_end,
    ragged,
    rows,
    texts,
    write_columns,
)
from mist_jax.episodes.dataset_info import DatasetInfo
from mist_jax.episodes.pictures import picture_columns, query_pictures, read_pictures
from mist_jax.episodes.rlds import RLDSSteps
from mist_jax.episodes.schema import RECORDS, Records, check_episode
from mist_jax.record.column import Column, columns_of
from mist_jax.record.contact import Contact
from mist_jax.record.episode import Episode
from mist_jax.record.queries import Queries

_META = "episode_metadata"


def encode_episode(episode: Episode, info: DatasetInfo, records: Records = RECORDS) -> bytes:
    """The episode as a serialised `tf.train.Example`.

    Raises:
        ValueError: the episode does not fit `info`.
    """
    check_episode(episode, info)
    objects = len(episode.object_names)
    steps = columns_of(records.steps)
    return write_columns(
        {
            **rows(steps, vars(episode.steps), "steps", len(episode.steps), {"O": objects}),
            **_rlds_columns(episode),
            **_contact_columns(episode.contacts, len(episode.steps), records),
            **_query_columns(episode.queries, info, records),
            **metadata_columns(episode, records, ragged=True),
            **_list_columns(episode, info, records),
            **picture_columns(episode, info),
        }
    )


def decode_episode(
    record: bytes, info: DatasetInfo, *, images: bool = False, records: Records = RECORDS
) -> Episode:
    """The inverse of `encode_episode`; camera pictures are left out unless `images`.

    Where there are no queries, their optional fields are None and the activations are empty arrays
    [0, L, D]. Floats are as stored: float32, activations in the dataset's `activation_dtype`.

    Raises:
        ValueError: the record is damaged or not one of such a dataset.
    """
    reader = ColumnReader(record)
    metadata = _metadata(reader, columns_of(records.episode))
    length = len(reader.bytes("steps/language_instruction"))
    sizes = {"O": len(metadata["object_names"])}
    pictures = read_pictures(reader, info, length) if images else {}
    steps = reader.rows(columns_of(records.steps), "steps", length, sizes)
    return records.episode(
        **metadata,
        key=records.key(**_metadata(reader, columns_of(records.key))),
        steps=records.steps(**steps, images=pictures),
        contacts=_contacts(reader, records),
        queries=_queries(reader, info, pictures, records),
    )


def step_columns(episode: Episode, records: Records = RECORDS) -> dict[str, Values]:
    """The columns of the steps that are rectangular: all but objects, contacts and pictures."""
    columns = columns_of(records.steps, ragged=False)
    return {
        **rows(columns, vars(episode.steps), "steps", len(episode.steps), {}),
        **_rlds_columns(episode),
    }


def metadata_columns(
    episode: Episode, records: Records = RECORDS, *, ragged: bool = False
) -> dict[str, Values]:
    """What tells of the episode as a whole; the scalars alone unless `ragged`."""
    values = {**vars(episode), **vars(episode.key)}
    columns: dict[str, Values] = {}
    for field, column in records.metadata(ragged=ragged).items():
        value = values[field]
        several = [value] if column.axes == () else value
        stored = texts(several) if column.dtype is str else np.asarray(several, column.dtype)
        columns[f"{_META}/{column.name}"] = stored
    return columns


def _metadata(reader: ColumnReader, columns: Mapping[str, Column]) -> dict[str, Any]:
    record: dict[str, Any] = {}
    for field, column in columns.items():
        name = f"{_META}/{column.name}"
        if column.later and name not in reader:
            continue
        if column.dtype is str:
            texts_there = reader.texts(name)
            record[field] = texts_there if column.axes else _only(texts_there)
        else:
            values = reader.array(name, column.dtype, *(column.shape({}) or (1,)))
            record[field] = values if column.axes else _only(values.tolist())
    return record


def _only(values: Sequence[Any]) -> Any:
    (value,) = values
    return value


def _rlds_columns(episode: Episode) -> dict[str, Values]:
    values = vars(RLDSSteps.of(episode))
    return rows(columns_of(RLDSSteps), values, "steps", len(episode.steps), {})


def _contact_columns(
    contacts: Sequence[Contact], length: int, records: Records
) -> dict[str, Values]:
    # Stable: contacts of one step keep their order.
    ordered = sorted(contacts, key=lambda contact: contact.step)
    counts = np.bincount([contact.step for contact in ordered], minlength=length)
    columns = columns_of(records.contact)
    fields = {field: [getattr(one, field) for one in ordered] for field in columns}
    stored: dict[str, Values] = {}
    for name, values in rows(columns, fields, "steps/contacts", len(ordered), {}).items():
        stored.update(ragged(name, values, counts))
    return stored


def _contacts(reader: ColumnReader, records: Records) -> tuple[Contact, ...]:
    columns = columns_of(records.contact)
    first = next(iter(columns.values()))
    counts = reader.row_lengths(f"steps/contacts/{first.name}")
    steps = np.repeat(np.arange(len(counts)), counts)
    fields = reader.rows(end_to_end(columns), "steps/contacts", len(steps), {})
    fields = {
        name: values.tolist() if isinstance(values, np.ndarray) and values.ndim == 1 else values
        for name, values in {"step": steps, **fields}.items()
    }
    return tuple(
        records.contact(**dict(zip(fields, row, strict=True)))
        for row in zip(*fields.values(), strict=True)
    )


def _query_columns(queries: Queries, info: DatasetInfo, records: Records) -> dict[str, Values]:
    length, sizes, declared = len(queries), {"C": info.chunk}, columns_of(records.queries)
    absent = set(_optional(records)) - set(_recorded(queries, records))
    columns = rows(declared, vars(queries), "queries", length, sizes, absent)
    for name, site in info.sites.items():
        shape = (length, len(site.layers), site.width)
        values = queries.activations[name] if length else np.zeros(shape)
        if values.shape != shape:
            raise ValueError(f"activations of {name} are {list(values.shape)}, not {list(shape)}")
        stored = _stored(values, info)
        columns[f"queries/activations/{name}"] = [row.tobytes() for row in stored]
    return columns


def _stored(values: np.ndarray, info: DatasetInfo) -> np.ndarray:
    with np.errstate(over="ignore"):
        stored = np.asarray(values, np.dtype(info.activation_dtype).newbyteorder("<"))
    if not np.array_equal(np.isfinite(stored), np.isfinite(values)):
        raise ValueError(
            f"activations up to {np.abs(values).max():.3g} do not fit {info.activation_dtype}; "
            "store them as float32"
        )
    return stored


def _queries(
    reader: ColumnReader,
    info: DatasetInfo,
    images: Mapping[str, tuple[bytes, ...]],
    records: Records,
) -> Queries:
    step = reader.array("queries/step", np.int32, -1)
    length, columns = len(step), columns_of(records.queries)
    recorded = reader.texts(f"{_META}/query_fields") if length else ()
    absent = set(_optional(records)) - set(recorded)
    stored = np.dtype(info.activation_dtype)
    activations = {}
    for name, site in info.sites.items():
        joined = b"".join(reader.bytes(f"queries/activations/{name}"))
        values = np.frombuffer(joined, stored.newbyteorder("<")).astype(stored)
        activations[name] = values.reshape(length, len(site.layers), site.width)
    return records.queries(
        **reader.rows(columns, "queries", length, {"C": info.chunk}, absent),
        activations=activations,
        layers={name: site.layers for name, site in info.sites.items()},
        images=query_pictures(images, step),
    )


def _list_columns(episode: Episode, info: DatasetInfo, records: Records) -> dict[str, Values]:
    """What the metadata says beside the records' own columns, as lists."""
    recorded = texts(_recorded(episode.queries, records))
    columns: dict[str, Values] = {f"{_META}/query_fields": recorded}
    for name, site in info.sites.items():
        columns[f"{_META}/query_layers/{name}"] = np.array(site.layers, np.int32)
    return columns


def _optional(records: Records) -> list[str]:
    """The queries' fields that may be None."""
    return [field for field, one in columns_of(records.queries).items() if one.optional]


def _recorded(queries: Queries, records: Records) -> list[str]:
    """Those of them that are not."""
    return [field for field in _optional(records) if getattr(queries, field) is not None]
