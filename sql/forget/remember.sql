-- keeps that the people of `leaving` are to stay out, not who they are
insert into forgotten (digest, salt, forgotten_at)
select sha256(s.salt || l.id), s.salt, now()
from leaving as l
cross join (select coalesce((select any_value(salt) from forgotten), cast(gen_random_uuid() as varchar)) as salt) as s
on conflict do update set is_done = false, forgotten_at = now()
