-- run_info has one row; every record has a run_id; each kind of record has rows of this run, or, about the model, of the
-- run that trained it
with records as (
    select 'run_metrics' as name, run_id from run_metrics
    union all
    select 'gate_checks', run_id from gate_checks
    union all
    select 'validation_results', run_id from validation_results
),

counted as (
    select
        n.name,
        count(*) filter (where r.run_id = if(n.name = 'validation_results', i.run_id, i.model_run_id)) as n_own,
        count(*) filter (where r.run_id is distinct from i.run_id) as n_others
    from (values ('run_metrics'), ('gate_checks'), ('validation_results')) as n (name)
    cross join run_info as i
    left join records as r on n.name = r.name
    group by n.name
)

select name, n_own, n_others
from counted
where n_own = 0 or (name = 'validation_results' and n_others > 0)
union all
select name, 0, count(*) from records where run_id is null group by name
union all
select 'run_info', count(*), 0 from run_info having count(*) != 1
