-- What the catalogue can be searched by. Words stand as they are written, in whatever language; those of
-- the title count most.
alter table product_card add column words tsvector generated always as (
    setweight(to_tsvector('simple', coalesce(payload ->> 'title', '')), 'A')
    || setweight(to_tsvector('simple', coalesce(payload ->> 'category', '')), 'B')
    || setweight(to_tsvector('simple', coalesce(payload ->> 'description', '')), 'C')
    || to_tsvector('simple', view_id)
) stored;

create index product_card_words on product_card using gin (words);
