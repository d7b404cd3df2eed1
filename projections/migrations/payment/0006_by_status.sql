-- Lists of the payments of one status.
create index payment_summary_by_status on payment_summary (status, requested_at desc, view_id desc);
