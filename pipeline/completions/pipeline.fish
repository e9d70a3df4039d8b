# Completion of `pipeline` for fish. For this shell: pipeline completion fish | source
# For every shell: pipeline completion fish > ~/.config/fish/completions/pipeline.fish
function __pipeline_complete
    set -l program (commandline -opc)[1]
    for answer in ($program __complete fish (commandline -cp | string collect) 2>/dev/null)
        switch $answer
            case ':files'
                __fish_complete_path (commandline -ct)
            case ':folders'
                __fish_complete_directories (commandline -ct)
            case '*'
                echo $answer
        end
    end
end
complete --command pipeline --no-files --arguments '(__pipeline_complete)'
