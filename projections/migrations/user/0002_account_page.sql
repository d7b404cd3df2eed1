-- The account page has more fields, and every row must have them: it is folded again from the first
-- event. Until the projector has caught up, accounts are not to be found.
delete from user_account;

update view_position
   set position = 0, event_id = null, stream_created_at = null
 where view = 'user_account';
