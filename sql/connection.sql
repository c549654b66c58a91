-- what a connection may use: the given folders and files, no extension from elsewhere; nothing of this can be undone,
-- but for the time zone and the progress bar, which are set meanwhile
set memory_limit = $memory_limit;
set temp_directory = $temp_directory;
set allowed_directories = [$folders];
set allowed_paths = [$files];
set enable_external_access = false;
set autoinstall_known_extensions = false;
set autoload_known_extensions = false;
set allowed_configs = ['timezone', 'enable_progress_bar', 'enable_progress_bar_print'];
set lock_configuration = true;
