# Completion of `pipeline` for bash. For this shell: source <(pipeline completion bash)
# For every shell: pipeline completion bash > ~/.local/share/bash-completion/completions/pipeline
_pipeline() {
    local answer
    COMPREPLY=()
    while IFS= read -r answer; do
        case "$answer" in
            :files) compopt -o default ;;
            :folders) compopt -o dirnames ;;
            *) COMPREPLY+=("$answer") ;;
        esac
    done < <("$1" __complete bash "${COMP_LINE:0:COMP_POINT}" 2>/dev/null)
    # What ends with an equals sign is followed by a value, not by a space.
    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace
    return 0
}
complete -F _pipeline pipeline
