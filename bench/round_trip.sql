-- nothing but the round trip: what every call pays
SELECT 1;
