-- One row a return whose goods came back, and one a refund that somebody must be told of: where
-- its saga stands.
create table return_handling (
    view_id text   collate "C" primary key,
    version bigint not null check (version >= 0),
    payload json   not null,
    order_id text collate "C" generated always as (payload ->> 'order_id') stored,
    status text collate "C" generated always as (payload ->> 'status') stored,
    started_at text collate "C" generated always as (payload ->> 'started_at') stored
);

create index return_handling_latest on return_handling (started_at desc, view_id desc);
create index return_handling_by_status on return_handling (status, started_at desc, view_id desc);
create index return_handling_by_order on return_handling (order_id, started_at desc, view_id desc);

create table refund_handling (
    view_id text   collate "C" primary key,
    version bigint not null check (version >= 0),
    payload json   not null,
    order_id text collate "C" generated always as (payload ->> 'order_id') stored,
    status text collate "C" generated always as (payload ->> 'status') stored,
    started_at text collate "C" generated always as (payload ->> 'started_at') stored
);

create index refund_handling_latest on refund_handling (started_at desc, view_id desc);
create index refund_handling_by_status on refund_handling (status, started_at desc, view_id desc);
create index refund_handling_by_order on refund_handling (order_id, started_at desc, view_id desc);

insert into view_position (view, stream) values ('return_handling', 'CHECKOUT');
insert into view_position (view, stream) values ('refund_handling', 'CHECKOUT');
