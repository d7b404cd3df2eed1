-- One row a bulk import.
create table import_report (
    view_id text   collate "C" primary key,
    version bigint not null check (version >= 0),
    payload json   not null,
    key text collate "C" generated always as (payload ->> 'key') stored,
    status text collate "C" generated always as (payload ->> 'status') stored,
    started_at text collate "C" generated always as (payload ->> 'started_at') stored
);

create index import_report_latest on import_report (started_at desc, view_id desc);
create index import_report_by_key on import_report (key, started_at desc, view_id desc);
create index import_report_by_status on import_report (status, started_at desc, view_id desc);

insert into view_position (view, stream) values ('import_report', 'PRODUCT');
