-- Which services (or the one named, unless empty) had requests in the window, with their models and how many. Who asks
-- chooses the name of a model, so there may be any number: of a service the 100 with most requests are told, and all others
-- together with the requests that name none.
SELECT service, if(place <= 100, named, '') AS model, sum(counted) AS requests, sum(counted_with_ttft) AS requests_with_ttft
FROM
(
    SELECT service, tailsight_requests.model AS named, count() AS counted, countIf(isNotNull(ttft_ms)) AS counted_with_ttft,
        row_number() OVER (PARTITION BY service ORDER BY named = '', counted DESC, named) AS place
    FROM tailsight_requests
    WHERE time >= {start:DateTime64(6, 'UTC')} AND time < {end:DateTime64(6, 'UTC')}
        AND ({service:String} = '' OR service = {service:String})
    GROUP BY service, named
)
GROUP BY service, model
ORDER BY service, requests DESC, model
LIMIT 4000000
