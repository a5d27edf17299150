module keywright.dev/e2e/pod

go 1.26
