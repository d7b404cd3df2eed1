-- What each product has cost, a row a SKU.
create table price_history (
    view_id text   collate "C" primary key,
    version bigint not null check (version >= 0),
    payload json   not null
);

insert into view_position (view, stream) values ('price_history', 'PRODUCT');
