-- What was taken and given back: one row for each day and currency. `version` is the position of the
-- last event in the row.
create table takings (
    view_id text   collate "C" primary key,
    version bigint not null check (version >= 0),
    payload json   not null,
    currency text collate "C" generated always as (payload ->> 'currency') stored,
    day text collate "C" generated always as (payload ->> 'day') stored
);

create index takings_latest on takings (day desc, view_id desc);

insert into view_position (view, stream) values ('takings', 'PAYMENT');
