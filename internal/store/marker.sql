-- The marker table. `migrate` creates it before the first numbered migration (goose
-- does not run this file): a database that has tables but not this one is not ours.

create table assetplatform_schema (
    only_row        boolean primary key default true check (only_row),
    schema          bigint not null, -- number of the last migration
    compatible_from bigint not null, -- lowest schema number of an image that can serve this database
    migrated_at     timestamptz not null default now()
);
insert into assetplatform_schema (schema, compatible_from) values (0, 0);
