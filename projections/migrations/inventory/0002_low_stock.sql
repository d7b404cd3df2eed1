-- Which stock is low. A row that was written before there were thresholds has none, so it isn't.
alter table stock_level
    add column low_stock text collate "C"
    generated always as (coalesce(payload ->> 'low_stock', 'false')) stored;

create index stock_level_low on stock_level (low_stock, view_id);
