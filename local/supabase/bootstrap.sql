-- What a hosted Supabase project has before our first migration, laid into a bare Postgres 15 to 18.
-- It never goes to a hosted project. Run it through local.supabase.bootstrap.apply_bootstrap, as a superuser:
-- roles are cluster-wide, so two databases of one cluster must not run it at the same moment.
-- Source: supabase/postgres (migrations/db/init-scripts and migrations/db/migrations) and supabase/auth (migrations).

-- ---------------------------------------------------------------------------------------------------------------------
-- Roles. PostgREST logs in as authenticator, which has no rights of its own, and becomes what the token says.

do $$
declare
  wanted record;
begin
  for wanted in
    select *
    from (values
      ('anon',                'nologin inherit'),
      ('authenticated',       'nologin inherit'),
      ('service_role',        'nologin inherit bypassrls'),
      ('authenticator',       'login noinherit'),
      ('supabase_auth_admin', 'nologin noinherit'),
      -- Hosted migrations run as a `postgres` that is no superuser. Here that name often belongs to the cluster's
      -- superuser, so its twin has a name of its own: migrations that work as this role work on a hosted project.
      ('hosted_postgres',     'login inherit createdb createrole bypassrls')
    ) as roles (name, options)
  loop
    if not exists (select from pg_catalog.pg_roles where rolname = wanted.name) then
      execute format('create role %I %s', wanted.name, wanted.options);
    end if;
  end loop;
end
$$;

grant anon to authenticator;
grant authenticated to authenticator;
grant service_role to authenticator;
grant anon to hosted_postgres with admin option;
grant authenticated to hosted_postgres with admin option;
grant service_role to hosted_postgres with admin option;

alter role anon set statement_timeout = '3s';
alter role authenticated set statement_timeout = '8s';
-- service_role has none of its own, so authenticator's holds for it.
alter role authenticator set statement_timeout = '8s';
alter role authenticator set lock_timeout = '8s';

do $$
begin
  execute format('grant create, connect, temporary on database %I to hosted_postgres', current_database());
end
$$;

-- ---------------------------------------------------------------------------------------------------------------------
-- Schemas, extensions, the publication that Realtime listens to.

create schema if not exists extensions;
grant usage on schema extensions to anon, authenticated, service_role;
grant all on schema extensions to hosted_postgres;

do $$
declare
  wanted text;
begin
  -- A Postgres without the contrib modules still serves everything that does not use them.
  foreach wanted in array array['pgcrypto', 'uuid-ossp'] loop
    if exists (select from pg_catalog.pg_available_extensions where name = wanted) then
      execute format('create extension if not exists %I with schema extensions', wanted);
    end if;
  end loop;
end
$$;

do $$
begin
  if not exists (select from pg_catalog.pg_publication where pubname = 'supabase_realtime') then
    create publication supabase_realtime;
    alter publication supabase_realtime owner to hosted_postgres; -- there it belongs to `postgres`, who migrates
  end if;
end
$$;

-- ---------------------------------------------------------------------------------------------------------------------
-- Default privileges: whatever a migration creates in `public` is handed to the API roles at once, as on every project
-- made before 2026-05-30. apply_bootstrap(…, auto_expose=False) takes it back, as on newer ones.

grant usage on schema public to anon, authenticated, service_role;
grant all on schema public to hosted_postgres;

alter default privileges in schema public grant all on tables to anon, authenticated, service_role;
alter default privileges in schema public grant all on functions to anon, authenticated, service_role;
alter default privileges in schema public grant all on sequences to anon, authenticated, service_role;
alter default privileges for role hosted_postgres in schema public
grant all on tables to anon, authenticated, service_role;
alter default privileges for role hosted_postgres in schema public
grant all on functions to anon, authenticated, service_role;
alter default privileges for role hosted_postgres in schema public
grant all on sequences to anon, authenticated, service_role;

-- ---------------------------------------------------------------------------------------------------------------------
-- Auth: the tables and helpers that Supabase Auth owns.

create schema if not exists auth;
grant usage on schema auth to anon, authenticated, service_role;
grant all on schema auth to supabase_auth_admin, hosted_postgres;

create table if not exists auth.users (
  instance_id                 uuid,
  id                          uuid primary key,
  aud                         varchar(255),
  role                        varchar(255),
  email                       varchar(255),
  encrypted_password          varchar(255),
  email_confirmed_at          timestamptz,
  invited_at                  timestamptz,
  confirmation_token          varchar(255),
  confirmation_sent_at        timestamptz,
  recovery_token              varchar(255),
  recovery_sent_at            timestamptz,
  email_change_token_new      varchar(255),
  email_change                varchar(255),
  email_change_sent_at        timestamptz,
  last_sign_in_at             timestamptz,
  raw_app_meta_data           jsonb,
  raw_user_meta_data          jsonb,
  is_super_admin              boolean,
  created_at                  timestamptz,
  updated_at                  timestamptz,
  phone                       text unique default null,
  phone_confirmed_at          timestamptz,
  phone_change                text default '',
  phone_change_token          varchar(255) default '',
  phone_change_sent_at        timestamptz,
  confirmed_at                timestamptz generated always as (least(email_confirmed_at, phone_confirmed_at)) stored,
  email_change_token_current  varchar(255) default '',
  email_change_confirm_status smallint default 0 check (email_change_confirm_status between 0 and 2),
  banned_until                timestamptz,
  reauthentication_token      varchar(255) default '',
  reauthentication_sent_at    timestamptz,
  is_sso_user                 boolean not null default false,
  deleted_at                  timestamptz,
  is_anonymous                boolean not null default false
);
create unique index if not exists users_email_partial_key on auth.users (email) where not is_sso_user;
comment on table auth.users is 'Auth: Stores user login data within a secure schema.';
comment on column auth.users.encrypted_password is
'Here: $scrypt$ln=14,r=8,p=1$<salt>$<key>, both base64 (local.supabase.passwords). Hosted: bcrypt.';

create table if not exists auth.sessions (
  id         uuid primary key,
  user_id    uuid not null references auth.users (id) on delete cascade,
  created_at timestamptz,
  updated_at timestamptz,
  not_after  timestamptz
);
create index if not exists sessions_user_id_idx on auth.sessions (user_id);
comment on table auth.sessions is 'Auth: Stores session data associated to a user.';

create table if not exists auth.refresh_tokens (
  id         bigint generated always as identity primary key,
  token      varchar(255) unique,
  user_id    varchar(255),
  session_id uuid references auth.sessions (id) on delete cascade,
  parent     varchar(255),
  revoked    boolean,
  created_at timestamptz,
  updated_at timestamptz
);
create index if not exists refresh_tokens_session_id_revoked_idx on auth.refresh_tokens (session_id, revoked);
comment on table auth.refresh_tokens is 'Auth: Store of tokens used to refresh JWT tokens once they expire.';

alter table auth.users enable row level security;
alter table auth.sessions enable row level security;
alter table auth.refresh_tokens enable row level security;
alter table auth.users owner to supabase_auth_admin;
alter table auth.sessions owner to supabase_auth_admin;
alter table auth.refresh_tokens owner to supabase_auth_admin;
grant all on all tables in schema auth to hosted_postgres;

create or replace function auth.jwt() returns jsonb
language sql stable
as $$
  select coalesce(
    nullif(current_setting('request.jwt.claim', true), ''),
    nullif(current_setting('request.jwt.claims', true), '')
  )::jsonb
$$;

create or replace function auth.uid() returns uuid
language sql stable
as $$
  select coalesce(
    nullif(current_setting('request.jwt.claim.sub', true), ''),
    nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub'
  )::uuid
$$;

create or replace function auth.role() returns text
language sql stable
as $$
  select coalesce(
    nullif(current_setting('request.jwt.claim.role', true), ''),
    nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role'
  )
$$;

create or replace function auth.email() returns text
language sql stable
as $$
  select coalesce(
    nullif(current_setting('request.jwt.claim.email', true), ''),
    nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'email'
  )
$$;

comment on function auth.uid() is 'The caller''s user id: the token''s sub.';
comment on function auth.role() is 'The caller''s role: the token''s role.';
comment on function auth.email() is 'The caller''s e-mail address: the token''s email.';
comment on function auth.jwt() is 'The caller''s whole token, as claims.';
