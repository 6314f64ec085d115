-- what is free of one SKU out of :first to :last
\set sku random(:first, :last)
SELECT available('SKU-' || :sku);
