-- A capability may be had for one of several prices: what was served for one has a list of it.
UPDATE capabilities SET spec = json_set(
    json_remove(spec, '$.price'), '$.prices',
    CASE json_type(spec, '$.price') WHEN 'object' THEN json_array(json(spec -> '$.price')) ELSE json_array() END
) WHERE json_type(spec, '$.price') IS NOT NULL;
