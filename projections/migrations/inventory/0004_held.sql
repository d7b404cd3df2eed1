-- Which stock is set aside for somebody: the radar of stuck work looks at when that lapses.
alter table stock_level
    add column held text collate "C"
    generated always as (
        case when coalesce((payload ->> 'reserved')::bigint, 0) > 0 then 'true' else 'false' end
    ) stored;

create index stock_level_held on stock_level (held, view_id);
