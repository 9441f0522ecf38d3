# Ends what jobs of other runs than $1 still run on this machine: with the lease
# on the target, nothing else may change it. The rest of the script is `job.sh`,
# whose functions this one uses. Says `ended RUN` or `stays RUN` for each job
# that ran, and `done` at last.
vd_others() {
    for vd_dir in "$HOME/.vdeploy/jobs"/*; do
        [ "$vd_dir" != "$HOME/.vdeploy/jobs/$1" ] || continue
        for vd_j in "$vd_dir"/*.run; do
            [ -e "$vd_j" ] || continue
            vd_j=${vd_j%.run}
            # What it left running when it ended by itself is not touched.
            vd_ended && continue
            vd_find
            vd_of=${vd_recorder##* }
            # A copy on a restored VM, or from before this machine went down.
            [ -z "$vd_of" ] || [ "$vd_of" = "$vd_boot" ] || continue
            if ! vd_alive $vd_recorder && ! vd_alive $vd_command &&
                ! vd_group_alive "${vd_command%% *}"; then
                continue
            fi
            vd_stop host
            vd_word=ended
            [ "$vd_result" = gone ] || vd_word=stays
            printf '%s %s %s\n' "$vd_mark" "$vd_word" "${vd_dir##*/}"
        done
    done 2>/dev/null
    printf '%s done\n' "$vd_mark"
}
