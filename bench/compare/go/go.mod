module weft_compare_go

go 1.19
