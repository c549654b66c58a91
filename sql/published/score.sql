-- the model's score of an item for a user, x B with B = scale (A Aᵀ − I) + S, seen or not; null where either is unknown
create macro output.score(of_user, of_item) as case
    when exists (select 1 from user_items as h where h.user_id = as_user_id(of_user) and h.weight > 0)
        and exists (select 1 from catalogue as c where c.item_id = as_item_id(of_item) and c.is_scored)
        then
            (select r.scale from run_info as r)
            * (
                coalesce(
                    (
                        select array_inner_product(u.embedding, i.embedding)
                        from user_embeddings as u
                        cross join item_embeddings as i
                        where u.user_id = as_user_id(of_user) and i.item_id = as_item_id(of_item)
                    ),
                    0
                )
                - coalesce(
                    (
                        select h.weight
                        from user_items as h
                        where h.user_id = as_user_id(of_user) and h.item_id = as_item_id(of_item)
                    ),
                    0
                )
            )
            + coalesce(
                (
                    select sum(cast(h.weight as double) * s.weight)
                    from user_items as h
                    inner join item_residuals as s on h.item_id = s.item_id
                    where h.user_id = as_user_id(of_user)
                        and s.neighbor_item_id = as_item_id(of_item)
                ),
                0
            )
end;
