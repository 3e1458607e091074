/* SPDX-License-Identifier: Apache-2.0 */
/* The operators' functions, by file. Included by rules.h. */
#ifndef MLCC_OPS_FAMILIES_H
#define MLCC_OPS_FAMILIES_H

/* attention.c */
INFER(infer_attention);

/* contrib.c */
INFER(infer_qattention);
INFER(infer_dynamic_quantize_lstm);
INFER(infer_gather_blocks);

/* conv.c */
INFER(infer_conv);
ELEMENT(element_conv);
LOWER(lower_conv);
MACS(macs_conv);
/* conv_transpose.c */
INFER(infer_conv_transpose);
INFER(infer_qlinear_conv_transpose);
LOWER(lower_conv_transpose);
MACS(macs_conv_transpose);

/* cumulate.c */
INFER(infer_cumulate);
LOWER(lower_cum_sum);
LOWER(lower_cum_prod);

/* det.c */
INFER(infer_det);
LOWER(lower_det);

/* einsum.c */
INFER(infer_einsum);
ELEMENT(element_einsum);
MACS(macs_einsum);

/* elementwise.c */
INFER(infer_arithmetic);
INFER(infer_float_unary);
INFER(infer_numeric_unary);
INFER(infer_compare);
INFER(infer_logical);
INFER(infer_bitwise);
INFER(infer_bitshift);
INFER(infer_where);
INFER(infer_cast);
INFER(infer_cast_like);
INFER(infer_is);
INFER(infer_pow);
INFER(infer_clip);
INFER(infer_prelu);
INFER(infer_gelu);
INFER(infer_dropout);
ELEMENT(element_add);
ELEMENT(element_sub);
ELEMENT(element_mul);
ELEMENT(element_div);
ELEMENT(element_neg);
ELEMENT(element_abs);
ELEMENT(element_sqrt);
ELEMENT(element_reciprocal);
ELEMENT(element_sign);
ELEMENT(element_max);
ELEMENT(element_min);
ELEMENT(element_sum);
ELEMENT(element_mean);
ELEMENT(element_pow);
ELEMENT(element_mod);
ELEMENT(element_not);
ELEMENT(element_bitshift);
ELEMENT(element_isnan);
ELEMENT(element_isinf);
ELEMENT(element_where);
ELEMENT(element_cast);
ELEMENT(element_identity);
LOWER(lower_dropout);
ELEMENT(element_relu);
ELEMENT(element_clip);
ELEMENT(element_leaky_relu);
ELEMENT(element_prelu);
ELEMENT(element_elu);
ELEMENT(element_selu);
ELEMENT(element_celu);
ELEMENT(element_thresholded_relu);
ELEMENT(element_hard_sigmoid);
ELEMENT(element_hard_swish);
ELEMENT(element_swish);
INFER(infer_swiglu);
ELEMENT(element_swiglu);
INFER(infer_bit_cast);
ELEMENT(element_bit_cast);
ELEMENT(element_softplus);
ELEMENT(element_softsign);
ELEMENT(element_mish);
ELEMENT(element_gelu);
ELEMENT(element_shrink);
ELEMENT(element_exp);
ELEMENT(element_log);
ELEMENT(element_erf);
ELEMENT(element_sin);
ELEMENT(element_cos);
ELEMENT(element_tan);
ELEMENT(element_asin);
ELEMENT(element_acos);
ELEMENT(element_atan);
ELEMENT(element_sinh);
ELEMENT(element_cosh);
ELEMENT(element_asinh);
ELEMENT(element_acosh);
ELEMENT(element_atanh);
ELEMENT(element_tanh);
ELEMENT(element_sigmoid);
ELEMENT(element_floor);
ELEMENT(element_ceil);
ELEMENT(element_round);
ELEMENT(element_equal);
ELEMENT(element_less);
ELEMENT(element_less_equal);
ELEMENT(element_greater);
ELEMENT(element_greater_equal);
ELEMENT(element_and);
ELEMENT(element_or);
ELEMENT(element_xor);

/* functions.c */
INFER(infer_likelihood_loss);
INFER(infer_cross_entropy_loss);
INFER(infer_mean_variance_normalization);
INFER(infer_center_crop_pad);
INFER(infer_compress);
INFER(infer_causal_conv);

/* fused_attention.c */
INFER(infer_fused_attention);
LOWER(lower_fused_attention);
MACS(macs_fused_attention);

/* generate.c */
INFER(infer_shape);
INFER(infer_size);
ELEMENT(element_shape);
INFER(infer_constant_of_shape);
ELEMENT(element_constant_of_shape);
INFER(infer_range);
ELEMENT(element_range);
INFER(infer_one_hot);
ELEMENT(element_one_hot);
INFER(infer_eye_like);
ELEMENT(element_eye_like);
INFER(infer_trilu);
ELEMENT(element_trilu);
INFER(infer_window);
ELEMENT(element_hann_window);
ELEMENT(element_hamming_window);
ELEMENT(element_blackman_window);

/* linear_attention.c */
INFER(infer_linear_attention);
LOWER(lower_linear_attention);

/* matmul.c */
INFER(infer_matmul);
ELEMENT(element_matmul);
MACS(macs_matmul);
INFER(infer_gemm);
ELEMENT(element_gemm);
MACS(macs_gemm);

/* ml.c */
INFER(infer_tree_classifier);
LOWER(lower_tree_classifier);
INFER(infer_tree_regressor);
LOWER(lower_tree_regressor);

/* movement.c */
INFER(infer_reshape);
INFER(infer_flatten);
INFER(infer_squeeze);
INFER(infer_unsqueeze);
ELEMENT(element_reshape);
INFER(infer_transpose);
ELEMENT(element_transpose);
INFER(infer_slice);
ELEMENT(element_slice);
INFER(infer_split);
LOWER(lower_split);
INFER(infer_concat);
LOWER(lower_concat);
INFER(infer_gather);
ELEMENT(element_gather);
INFER(infer_gather_elements);
ELEMENT(element_gather_elements);
INFER(infer_gather_nd);
ELEMENT(element_gather_nd);
INFER(infer_expand);
ELEMENT(element_expand);
INFER(infer_tile);
ELEMENT(element_tile);
INFER(infer_pad);
ELEMENT(element_pad);
INFER(infer_depth_to_space);
ELEMENT(element_depth_to_space);
INFER(infer_space_to_depth);
ELEMENT(element_space_to_depth);
INFER(infer_reverse_sequence);
ELEMENT(element_reverse_sequence);

/* normalize.c */
INFER(infer_softmax);
LOWER(lower_softmax);
LOWER(lower_log_softmax);
LOWER(lower_hardmax);
INFER(infer_lp_normalization);
LOWER(lower_lp_normalization);
INFER(infer_batch_normalization);
ELEMENT(element_batch_normalization);
INFER(infer_lrn);
ELEMENT(element_lrn);
INFER(infer_instance_normalization);
LOWER(lower_instance_normalization);
INFER(infer_group_normalization);
LOWER(lower_group_normalization);
INFER(infer_layer_normalization);
LOWER(lower_layer_normalization);
INFER(infer_rms_normalization);
LOWER(lower_rms_normalization);

/* pool.c */
INFER(infer_max_pool);
INFER(infer_average_pool);
INFER(infer_lp_pool);
LOWER(lower_max_pool);
ELEMENT(element_average_pool);
ELEMENT(element_lp_pool);
INFER(infer_global_pool);
ELEMENT(element_global_average_pool);
ELEMENT(element_global_lp_pool);
ELEMENT(element_global_max_pool);

/* qblock.c */
INFER(infer_matmul_nbits);
INFER(infer_matmul_blocks);
LOWER(lower_matmul_blocks);
MACS(macs_matmul_blocks);
INFER(infer_unpacked);
ELEMENT(element_unpacked);

/* qconv.c */
INFER(infer_conv_integer);
ELEMENT(element_conv_integer);
MACS(macs_conv_integer);
INFER(infer_qlinear_conv);
ELEMENT(element_qlinear_conv);
MACS(macs_qlinear_conv);

/* qfixed.c */
INFER(infer_fixed_point);
LOWER(lower_fixed_point);
INFER(infer_matmul_fixed);
LOWER(lower_matmul_fixed);
MACS(macs_matmul_fixed);

/* qlinear.c */
INFER(infer_qlinear_binary);
ELEMENT(element_qlinear_add);
ELEMENT(element_qlinear_mul);
INFER(infer_qlinear_unary);
ELEMENT(element_qlinear_sigmoid);
ELEMENT(element_qlinear_leaky_relu);
INFER(infer_qlinear_average_pool);
ELEMENT(element_qlinear_average_pool);
INFER(infer_qlinear_global_average_pool);
ELEMENT(element_qlinear_global_average_pool);
INFER(infer_qlinear_where);
ELEMENT(element_qlinear_where);
INFER(infer_qlinear_mean);
ELEMENT(element_qlinear_mean);
INFER(infer_qlinear_concat);
LOWER(lower_qlinear_concat);
INFER(infer_qlinear_softmax);
LOWER(lower_qlinear_softmax);
INFER(infer_lookup);
ELEMENT(element_lookup);

/* qmatmul.c */
INFER(infer_matmul_integer);
ELEMENT(element_matmul_integer);
MACS(macs_qmatmul);
INFER(infer_qlinear_matmul);
ELEMENT(element_qlinear_matmul);
INFER(infer_qgemm);
ELEMENT(element_qgemm);
MACS(macs_qgemm);
INFER(infer_matmul_to_float);
ELEMENT(element_matmul_to_float);
INFER(infer_dynamic_quantize_matmul);

/* quantize.c */
INFER(infer_dequantize);
ELEMENT(element_dequantize);
INFER(infer_quantize);
ELEMENT(element_quantize);
INFER(infer_dynamic_quantize);
LOWER(lower_dynamic_quantize);

/* qwords.c */
INFER(infer_interleave);
ELEMENT(element_interleave);
INFER(infer_matmul_words);
ELEMENT(element_matmul_words);
MACS(macs_matmul_words);

/* reduce.c */
INFER(infer_reduce);
ELEMENT(element_reduce_sum);
ELEMENT(element_reduce_l1);
ELEMENT(element_reduce_sum_square);
ELEMENT(element_reduce_prod);
ELEMENT(element_reduce_l2);
ELEMENT(element_reduce_log_sum);
ELEMENT(element_reduce_mean);
ELEMENT(element_reduce_max);
ELEMENT(element_reduce_min);
ELEMENT(element_reduce_log_sum_exp);
INFER(infer_arg);
ELEMENT(element_arg_max);
ELEMENT(element_arg_min);

/* resize.c */
INFER(infer_resize);
ELEMENT(element_resize);

/* rnn.c */
INFER(infer_rnn);
LOWER(lower_rnn);
INFER(infer_gru);
LOWER(lower_gru);
INFER(infer_lstm);
LOWER(lower_lstm);
MACS(macs_rnn);

/* rotary.c */
INFER(infer_rotary_embedding);
LOWER(lower_rotary_embedding);

/* sample.c */
INFER(infer_affine_grid);
ELEMENT(element_affine_grid);
INFER(infer_grid_sample);
ELEMENT(element_grid_sample);
INFER(infer_roi_align);
ELEMENT(element_roi_align);
INFER(infer_col2im);
ELEMENT(element_col2im);
INFER(infer_deform_conv);
ELEMENT(element_deform_conv);
MACS(macs_deform_conv);

/* scatter.c */
INFER(infer_scatter_elements);
LOWER(lower_scatter_elements);
INFER(infer_scatter_nd);
LOWER(lower_scatter_nd);
INFER(infer_max_unpool);
LOWER(lower_max_unpool);
INFER(infer_tensor_scatter);
ELEMENT(element_tensor_scatter);

/* topk.c */
INFER(infer_top_k);
LOWER(lower_top_k);

/* window_rows.c */
INFER(infer_window_rows);
ELEMENT(element_window_rows);

/* winograd.c */
INFER(infer_winograd_conv);
LOWER(lower_winograd_conv);
MACS(macs_winograd_conv);

#endif
