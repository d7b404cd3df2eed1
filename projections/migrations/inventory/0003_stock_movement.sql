-- One row for each time that a count changed. `version` is the event's position in the stream.
create table stock_movement (
    view_id text   collate "C" primary key,
    version bigint not null check (version >= 0),
    payload json   not null,
    sku text collate "C" generated always as (payload ->> 'sku') stored,
    movement text collate "C" generated always as (payload ->> 'movement') stored,
    at text collate "C" generated always as (payload ->> 'at') stored
);

create index stock_movement_latest on stock_movement (at desc, view_id desc);
create index stock_movement_by_sku on stock_movement (sku, at desc, view_id desc);

insert into view_position (view, stream) values ('stock_movement', 'INVENTORY');
