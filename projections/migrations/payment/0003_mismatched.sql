-- Of which payments the provider's record is another one.
alter table payment_summary
    add column mismatched text collate "C"
    generated always as (
        case when coalesce(json_array_length(payload -> 'mismatch'), 0) > 0 then 'true' else 'false' end
    ) stored;

create index payment_summary_mismatched on payment_summary (mismatched, requested_at desc, view_id desc);
