-- Which folds (ViewSpec::revision) have made a view's rows: the one that all of them are made by at least,
-- and the newest that has written one. An older projector does not move it any more.
alter table view_position
    add column revision   integer not null default 1,
    add column written_by integer not null default 1;
