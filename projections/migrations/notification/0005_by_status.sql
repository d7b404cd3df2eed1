-- The radar of stuck work looks for the oldest mails that are asked for, and for those that will never be sent.
create index notification_entry_by_status on notification_entry (status, requested_at desc, view_id desc);
