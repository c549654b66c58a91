-- x B with B = scale (A Aᵀ − I) + S, for the history x
create macro score(of_user, of_item) as case
    when exists (select 1 from user_items as __h where __h.user_id = as_user_id(of_user) and __h.weight > 0)
        and exists (select 1 from catalogue as __c where __c.item_id = as_item_id(of_item) and __c.is_scored)
        then
            (select __r.scale from run_info as __r)
            * (
                coalesce(
                    (
                        select array_inner_product(__u.embedding, __i.embedding)
                        from user_embeddings as __u
                        cross join item_embeddings as __i
                        where __u.user_id = as_user_id(of_user) and __i.item_id = as_item_id(of_item)
                    ),
                    0
                )
                - coalesce(
                    (
                        select __h.weight
                        from user_items as __h
                        where __h.user_id = as_user_id(of_user) and __h.item_id = as_item_id(of_item)
                    ),
                    0
                )
            )
            + coalesce(
                (
                    select sum(cast(__h.weight as double) * __s.weight)
                    from user_items as __h
                    inner join item_residuals as __s on __h.item_id = __s.item_id
                    where __h.user_id = as_user_id(of_user)
                        and __s.neighbor_item_id = as_item_id(of_item)
                ),
                0
            )
end;

-- The model's score of an item for a user, seen or not; null where either is unknown: select score('42', '318')
