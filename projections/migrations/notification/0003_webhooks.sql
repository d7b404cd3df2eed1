-- One row a server that is told of events, and one row an event that is told to one of them.
create table webhook_endpoint_entry (
    view_id text   collate "C" primary key,
    version bigint not null check (version >= 0),
    payload json   not null,
    user_id text collate "C" generated always as (payload ->> 'user_id') stored,
    status text collate "C" generated always as (payload ->> 'status') stored,
    in_trouble text collate "C" generated always as (payload ->> 'in_trouble') stored,
    registered_at text collate "C" generated always as (payload ->> 'registered_at') stored
);

create index webhook_endpoint_entry_latest on webhook_endpoint_entry (registered_at desc, view_id desc);
create index webhook_endpoint_entry_by_user on webhook_endpoint_entry (user_id, registered_at desc, view_id desc);
create index webhook_endpoint_entry_in_trouble on webhook_endpoint_entry (registered_at desc, view_id desc)
    where in_trouble = 'true';

create table webhook_delivery_entry (
    view_id text   collate "C" primary key,
    version bigint not null check (version >= 0),
    payload json   not null,
    endpoint_id text collate "C" generated always as (payload ->> 'endpoint_id') stored,
    user_id text collate "C" generated always as (payload ->> 'user_id') stored,
    event_type text collate "C" generated always as (payload ->> 'event_type') stored,
    status text collate "C" generated always as (payload ->> 'status') stored,
    requested_at text collate "C" generated always as (payload ->> 'requested_at') stored
);

create index webhook_delivery_entry_latest on webhook_delivery_entry (requested_at desc, view_id desc);
create index webhook_delivery_entry_by_endpoint
    on webhook_delivery_entry (endpoint_id, requested_at desc, view_id desc);
create index webhook_delivery_entry_by_endpoint_and_status
    on webhook_delivery_entry (endpoint_id, status, requested_at desc, view_id desc);

insert into view_position (view, stream) values ('webhook_endpoint_entry', 'NOTIFICATION');
insert into view_position (view, stream) values ('webhook_delivery_entry', 'NOTIFICATION');
