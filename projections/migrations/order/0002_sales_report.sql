-- What was sold: one row for each day, product and currency (`kind` is `day`), and what has to be known
-- of each order to keep them (`order`). `version` is the position of the last event in the row.
create table sales_report (
    view_id text   collate "C" primary key,
    version bigint not null check (version >= 0),
    payload json   not null,
    kind text collate "C" generated always as (payload ->> 'kind') stored,
    sku text collate "C" generated always as (payload ->> 'sku') stored,
    currency text collate "C" generated always as (payload ->> 'currency') stored,
    day text collate "C" generated always as (payload ->> 'day') stored
);

create index sales_report_latest on sales_report (kind, day desc, view_id desc);
create index sales_report_by_sku on sales_report (kind, sku, day desc, view_id desc);

insert into view_position (view, stream) values ('sales_report', 'ORDER');
