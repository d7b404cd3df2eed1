-- One row an address that was suppressed, under its keyed hash.
create table suppression_entry (
    view_id text   collate "C" primary key,
    version bigint not null check (version >= 0),
    payload json   not null,
    status text collate "C" generated always as (payload ->> 'status') stored,
    first_suppressed_at text collate "C" generated always as (payload ->> 'first_suppressed_at') stored
);

create index suppression_entry_latest on suppression_entry (first_suppressed_at desc, view_id desc);
create index suppression_entry_by_status on suppression_entry (status, first_suppressed_at desc, view_id desc);

insert into view_position (view, stream) values ('suppression_entry', 'NOTIFICATION');
