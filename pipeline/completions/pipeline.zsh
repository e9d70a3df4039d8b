#compdef pipeline
# Completion of `pipeline` for zsh. For this shell, after compinit: source <(pipeline completion zsh)
# For every shell: pipeline completion zsh > a folder of $fpath, as _pipeline
_pipeline() {
    local answer
    local -a whole open
    for answer in "${(@f)$("${words[1]}" __complete zsh "${(j: :)words[1,CURRENT-1]} $PREFIX" 2>/dev/null)}"; do
        case "$answer" in
            '') ;;
            :files) _files ;;
            :folders) _files -/ ;;
            # What ends with an equals sign is followed by a value, not by a space.
            *=|*=:*) open+=("$answer") ;;
            *) whole+=("$answer") ;;
        esac
    done
    (( $#whole )) && _describe 'pipeline' whole
    (( $#open )) && _describe 'setting' open -S ''
    return 0
}
if [[ "${funcstack[1]}" == _pipeline ]]; then
    _pipeline "$@"
else
    compdef _pipeline pipeline
fi
