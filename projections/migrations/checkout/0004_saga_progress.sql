-- One row a saga that is a table of steps, whichever it is: where it stands, and when it is due to be looked at.
create table saga_progress (
    view_id text   collate "C" primary key,
    version bigint not null check (version >= 0),
    payload json   not null,
    status text collate "C" generated always as (payload ->> 'status') stored,
    due text collate "C" generated always as (payload ->> 'due') stored
);

create index saga_progress_by_status on saga_progress (status, due desc, view_id desc);

insert into view_position (view, stream) values ('saga_progress', 'CHECKOUT');
