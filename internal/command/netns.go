package command

// Inside is the command that begins a shell in a network namespace, which the file at path holds.
func Inside(path string) Fix { return Of("nsenter --net=% sh", Path("", path)) }
