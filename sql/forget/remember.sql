-- keeps that the people of `leaving` are to stay out, not who they are
insert into forgotten_people (digest, canonical_digest, salt, options, forgotten_at)
select sha256(s.salt || l.id), sha256(s.salt || canonical(l.id)), s.salt, $options, now()
from leaving as l
cross join (
    select coalesce((select any_value(salt) from forgotten_people), cast(gen_random_uuid() as varchar)) as salt
) as s
on conflict do update set is_done = false, options = excluded.options, forgotten_at = now()
