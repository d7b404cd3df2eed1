-- Of which payments the provider owes an answer.
alter table payment_summary
    add column due text collate "C"
    generated always as (
        case when payload ->> 'due_since' is null then 'false' else 'true' end
    ) stored;

create index payment_summary_due on payment_summary (requested_at desc, view_id desc)
    where due = 'true';
