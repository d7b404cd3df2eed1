-- Where each read model of this database stands in its stream. Moved by compare-and-set, in the
-- transaction that changes the rows: of two projectors only one can win.
create table view_position (
    view              text primary key,
    stream            text        not null,
    position          bigint      not null default 0 check (position >= 0),
    -- The event at that position, and the stream's age: the proof that the log is still the same.
    event_id          uuid,
    stream_created_at timestamptz,
    updated_at        timestamptz not null default now(),
    -- Set when the view has stopped at an event that it can't take in.
    failed_at         timestamptz,
    failed_position   bigint,
    last_error        text,
    check ((position = 0) = (event_id is null))
);

-- One row a SKU.
-- view_id, version and payload are the row shape of postgres-es; the other columns follow from
-- the payload. The payload is json, not jsonb: it is answered as it was written.
create table stock_level (
    view_id text   collate "C" primary key,
    version bigint not null check (version >= 0),
    payload json   not null
);

insert into view_position (view, stream) values ('stock_level', 'INVENTORY');
