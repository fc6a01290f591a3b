-- Which services (or the one named, unless empty) had requests in the window, with their models and how many.
SELECT service, model, count() AS requests, countIf(isNotNull(ttft_ms)) AS requests_with_ttft
FROM tailsight_requests
WHERE time >= {start:DateTime64(6, 'UTC')} AND time < {end:DateTime64(6, 'UTC')}
    AND ({service:String} = '' OR service = {service:String})
GROUP BY service, model
ORDER BY service, requests DESC
LIMIT 1000
